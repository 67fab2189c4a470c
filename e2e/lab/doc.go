// Package lab puts clusters together of Skiff's components and of upstream's, in any mixture: for measuring the one beside
// the other, and for showing that each can stand in for the other.
//
// A lab is one machine of package machine: a network, processes, mounts and cgroups of its own with no way out, so that
// ending it leaves nothing. etcd is a program beside the API server, whosever that is, and writes without fsync: what
// is compared is not the disk. Upstream's programs run with the flags of a usual installation, but without the limits that
// its clients put on their own requests (50 a second for the scheduler), which would be all that one measured.
package lab
