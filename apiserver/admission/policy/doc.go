// Package policy acts on ValidatingAdmissionPolicies and MutatingAdmissionPolicies: rules of admission that are written in
// CEL and run inside this server.
//
// A policy does nothing by itself: each of its bindings applies it, to what the binding takes in and once for every
// parameter object that the binding names. What fails to evaluate refuses the write or is left out, as the policy's
// failurePolicy says. Policies never see what configures admission.
package policy
