// Package servicecidrs lets a range of service addresses go only when no address is left that nobody else covers.
//
// It owns: the finalizer networking.k8s.io/service-cidr-finalizer and the Ready condition of ServiceCIDRs.
// It is woken by: ServiceCIDRs and IPAddresses. It never touches: addresses.
package servicecidrs
