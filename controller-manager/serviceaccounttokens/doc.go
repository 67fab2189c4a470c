// Package serviceaccounttokens fills in Secrets of type kubernetes.io/service-account-token: tokens without an end, as they
// were before pods got theirs from the TokenRequest API. Nobody makes such Secrets by itself any more, but users may.
//
// It owns: the data of such Secrets. It is woken by: them, and service accounts that go.
// It never touches: other Secrets; it does not even see them.
package serviceaccounttokens
