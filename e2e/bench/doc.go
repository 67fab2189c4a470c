// Command bench measures Skiff's API server, and upstream's on the same work in the same run.
//
//	bench [--skiff DIR] [--upstream DIR] [--pods 5000] [--rounds 3] [--json FILE]
//
// Servers are started one at a time, each with a fresh external etcd, TLS, RBAC and default admission, in a network
// namespace of their own; rounds alternate between them and the medians are told. The clients are raw HTTP/2: bodies are
// made before the clock starts and answers are counted, not decoded, so that what is measured is the server. Client and
// server share the machine's cores all the same, as the upstream column does.
package main
