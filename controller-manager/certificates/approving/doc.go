// Package approving approves certificate requests of nodes for their own client certificate, when RBAC allows the requester
// certificatesigningrequests/nodeclient (a bootstrap token's, for a node that joins) or /selfnodeclient (the node's own,
// for renewal).
//
// It owns: the Approved condition of such requests. It is woken by: CertificateSigningRequests.
// It never touches: requests of any other kind, which wait for a person or another approver.
package approving
