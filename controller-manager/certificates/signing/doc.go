// Package signing signs approved certificate requests with the cluster's certificate authority, for the signers
// kubernetes.io/kube-apiserver-client, kube-apiserver-client-kubelet, kubelet-serving and legacy-unknown.
//
// It owns: status.certificate and the Failed condition of such requests. It is woken by: CertificateSigningRequests.
// It never touches: requests of other signers, and the approval.
package signing
