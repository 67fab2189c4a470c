// Package webhook asks the webhooks that MutatingWebhookConfigurations and ValidatingWebhookConfigurations name about
// writes. The order is upstream's: configurations by name, and the webhooks of one in its own order. Mutating ones are
// asked one after the other and see what those before them changed; validating ones are asked all at once.
//
// A webhook that cannot be asked refuses the write or lets it pass, as its failurePolicy says. What configures admission
// is never shown to a webhook, so that a wrong configuration can always be taken back.
package webhook
