// Command images builds the images that a cluster brings along, as archives, from programs of this repository and
// Debian's busybox, without any registry:
//
//	coredns.tar   the cluster's DNS, from cmd/dns
//	busybox.tar   Debian's static busybox and its applets
//	nginx.tar     stand-ins for docker.io/library/nginx 1.7.9 and 1.9.1, which the introductions of this world use
//	tool.tar      what the end-to-end tests run: servers of several protocols, a DNS client, an eater of memory
//
// The same programs give the same bytes: files are sorted, and no time stands in them.
package main
