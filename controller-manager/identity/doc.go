// Package identity lets every controller act as its own service account in kube-system, as upstream's
// --use-service-account-credentials does: audit and RBAC then know which controller wrote what, and no controller can do
// more than its role says.
//
// The controllers share one clientset and one connection. Who a request is for travels in its context (As); the round
// tripper adds the token of that service account, which it asks for when it is first needed and renews in time. Requests
// of no controller in particular, above all the lists and watches of the shared informers, keep the process's own identity.
package identity
