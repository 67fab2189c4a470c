// Package expression compiles and runs the CEL expressions of admission: match conditions of webhooks and policies, the
// variables, validations, messages and audit annotations of ValidatingAdmissionPolicies, and the mutations of
// MutatingAdmissionPolicies. Validation of these kinds compiles with the same rules, so that what is accepted runs.
//
// The language, its libraries and the limits on what an expression may cost are those of Kubernetes v1.37, by
// k8s.io/apiserver/pkg/cel. Nothing is built before the first expression is seen: a cluster without any pays nothing.
package expression
