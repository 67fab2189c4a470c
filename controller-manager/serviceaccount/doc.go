// Package serviceaccount keeps a ServiceAccount named default in every namespace: pods that name none run as it, and
// cannot be created before it is there.
//
// It owns: the ServiceAccount default. It is woken by: namespaces, and that account going away.
// It never touches: other service accounts, and what users add to this one.
package serviceaccount
