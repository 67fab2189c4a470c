// Package admissionregistration holds the rows of the kinds that configure admission: webhooks and policies.
package admissionregistration
