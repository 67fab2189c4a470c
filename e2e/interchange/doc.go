// Command interchange shows that Skiff's components and upstream's can stand in for each other:
//
//	interchange [--only RE] [--for 1m] [--skiff bin] [--peers out/peers] [--docs docs]
//
// A cell is a cluster of one node in which one component is the other side's (package lab). In it a script does what users
// do: roll-outs, quotas, jobs, volumes, logs, exec, services, DNS, deletion. The same script runs in a cluster that is
// upstream's altogether: an error line of upstream's controller manager or scheduler that does not show there fails the cell. The script is
// repeated for as long as --for says.
//
// Two cells are about data: a copy of the etcd of one API server is served by the other, and every object has to be there
// and equal, but for what a server changes at its start.
package main
