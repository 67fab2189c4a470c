package certificates

import (
	certificatesv1 "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

// prepareCSR writes down who asks: signers trust these fields, so a client never sets them.
func prepareCSR(req *kinds.Request, c csr) {
	c.Spec.Username, c.Spec.UID, c.Spec.Groups = req.User.Name, req.User.UID, append([]string(nil), req.User.Groups...)
	c.Spec.Extra = nil
	for key, values := range req.User.Extra {
		if c.Spec.Extra == nil {
			c.Spec.Extra = map[string]certificatesv1.ExtraValue{}
		}
		c.Spec.Extra[key] = append(certificatesv1.ExtraValue(nil), values...)
	}
	c.Status = certificatesv1.CertificateSigningRequestStatus{}
}

// keepSpec: what was asked for never changes.
func keepSpec(_ *kinds.Request, c, old csr) { c.Spec = old.Spec }

// stampConditions gives new and changed conditions the times that clients leave out.
func stampConditions(req *kinds.Request, c, old csr) {
	now := metav1.NewTime(req.Now)
	for i := range c.Status.Conditions {
		cond := &c.Status.Conditions[i]
		if cond.LastUpdateTime.IsZero() {
			cond.LastUpdateTime = now
		}
		if !cond.LastTransitionTime.IsZero() {
			continue
		}
		cond.LastTransitionTime = now
		for _, before := range old.Status.Conditions {
			if before.Type == cond.Type && before.Status == cond.Status && !before.LastTransitionTime.IsZero() {
				cond.LastTransitionTime = before.LastTransitionTime
				break
			}
		}
	}
}

// keepDecisions takes Approved and Denied as they were, where there are as many as before: the signer's door does not set
// them, and one more or less is an error that validation words.
func keepDecisions(c, old csr) {
	for _, t := range decisions {
		before := conditionsOf(old, t)
		if len(conditionsOf(c, t)) != len(before) {
			continue
		}
		for i := range c.Status.Conditions {
			if c.Status.Conditions[i].Type == t {
				c.Status.Conditions[i], before = before[0], before[1:]
			}
		}
	}
}
