// Command bench measures Skiff and upstream Kubernetes on the same work, in turn, in one run:
//
//	bench [--only RE] [--runs 3] [--sizes 5000,20000] [--skiff bin] [--peers out/peers] [--json FILE] [--docs docs]
//
// Each benchmark starts a cluster, or the part of one that it needs, on a machine of package lab, does its work and ends the
// cluster; upstream and Skiff take turns, and the medians are told. Both API servers keep their data in the same
// external etcd that does not sync to disk, with TLS, RBAC and the default admission.
//
// Clients share the processors with what they measure. To keep their cost out of the figures, requests are made by package
// raw: bodies are built before the clock starts, answers are counted and not decoded, over four connections. Beside many
// rates stands the processor time that the server itself took, which a busy machine changes least.
package main
