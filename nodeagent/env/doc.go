// Package env works out what a container sees of the world by name: its environment variables with every kind of
// source, the $(NAME) references in them and in command and arguments, the variables that describe Services, and the
// downward API fields, which volumes share with it. Nothing here touches the runtime; objects come through Sources.
package env
