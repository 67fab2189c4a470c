// Package audit writes down who did what: for each request, as a policy file (audit.k8s.io/v1 Policy) says, events in
// upstream's format, one JSON object a line. The file is written before the answer is: what was answered was logged.
package audit
