// Package objects keeps the ConfigMaps and Secrets that the pods of this node refer to, each by a watch of its own: a node may see
// these, and no others. An object is watched from the first pod that names it until some time after the last has gone; who
// refers to it is told when it changes, so that volumes follow within milliseconds.
package objects
