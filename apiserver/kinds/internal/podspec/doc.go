// Package podspec knows pods and pod templates: what is filled in, what is refused, and what clients are warned of. The
// row of Pods and those of everything that has a template share it.
package podspec
