// Package rbac holds the rows of roles and of who has them. Escalation checks are the registry's: they ask the authorizer.
package rbac
