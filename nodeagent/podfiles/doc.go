// Package podfiles writes what a pod's containers find under /etc: hosts and resolv.conf, and works out the pod's host name.
package podfiles
