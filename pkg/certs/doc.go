// Package certs makes and keeps the keys, certificates and kubeconfigs of a cluster, under kubeadm's file names, so
// that existing scripts and tools find what they know. What is there and still good is never touched; what is missing,
// runs out within a month or no longer names an address it must name is made anew, as long as the CA's key is there.
// A cluster whose CA key is kept elsewhere works too: then its certificates must be in the folder.
//
// Keys are ECDSA P-256, which are made and used in well under a millisecond; the service-account key is RSA, since many
// verifiers of OIDC tokens know nothing else. Every file that holds a key is 0600 and appears complete or not at all.
package certs
