// Package discovered knows which kinds of objects the server has, as far as those need that delete objects of any kind:
// the namespace controller and the garbage collector.
package discovered
