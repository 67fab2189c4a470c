// Package tokens reads bootstrap tokens, the Secrets in kube-system by which new nodes introduce themselves, and shares one
// informer of them between the controllers that need them: no other Secret ever enters this process.
package tokens
