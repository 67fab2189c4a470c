// Package several holds tests of several API servers, each a process, on one etcd of three members: what a client sees
// through one of them while another, or the way to etcd, or etcd itself, fails. There is nothing in it but tests.
package several
