// Package expressions compiles the CEL expressions of admission: match conditions of webhooks, and the variables,
// validations and mutations of policies. Whoever validates such an object and whoever runs it compile through the same
// environments, which are upstream's: what is refused here would not run there.
package expressions
