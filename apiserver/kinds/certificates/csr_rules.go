package certificates

import (
	"bytes"
	"fmt"
	"slices"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/check"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/shape"
)

type csr = *certificatesv1.CertificateSigningRequest

// legacySigner stood for no signer in particular. Requests of old may keep it.
const legacySigner = "kubernetes.io/legacy-unknown"

// shortestCSR is the shortest life that may be asked for, in seconds.
const shortestCSR = 600

var (
	specPath        = field.NewPath("spec")
	conditionsPath  = field.NewPath("status", "conditions")
	certificatePath = field.NewPath("status", "certificate")
)

// usages are those that a request may name, sorted.
var usages = func() []certificatesv1.KeyUsage {
	out := []certificatesv1.KeyUsage{
		certificatesv1.UsageSigning, certificatesv1.UsageDigitalSignature, certificatesv1.UsageContentCommitment, certificatesv1.UsageKeyEncipherment,
		certificatesv1.UsageKeyAgreement, certificatesv1.UsageDataEncipherment, certificatesv1.UsageCertSign, certificatesv1.UsageCRLSign,
		certificatesv1.UsageEncipherOnly, certificatesv1.UsageDecipherOnly, certificatesv1.UsageAny, certificatesv1.UsageServerAuth,
		certificatesv1.UsageClientAuth, certificatesv1.UsageCodeSigning, certificatesv1.UsageEmailProtection, certificatesv1.UsageSMIME,
		certificatesv1.UsageIPsecEndSystem, certificatesv1.UsageIPsecTunnel, certificatesv1.UsageIPsecUser, certificatesv1.UsageTimestamping,
		certificatesv1.UsageOCSPSigning, certificatesv1.UsageMicrosoftSGC, certificatesv1.UsageNetscapeSGC,
	}
	slices.Sort(out)
	return out
}()

// csrLeniency is what a request may keep because an older server took it.
type csrLeniency struct {
	legacySigner, unknownUsages, repeatedUsages   bool
	emptyTypes, repeatedTypes, bothDecisions, any bool // any certificate
}

func lenientTo(c, old csr) csrLeniency {
	may := csrLeniency{
		legacySigner:   old.Spec.SignerName == legacySigner,
		unknownUsages:  slices.ContainsFunc(old.Spec.Usages, func(u certificatesv1.KeyUsage) bool { return !slices.Contains(usages, u) }),
		repeatedUsages: repeats(old.Spec.Usages),
		emptyTypes:     len(conditionsOf(old, "")) > 0,
		bothDecisions:  len(conditionsOf(old, certificatesv1.CertificateApproved)) > 0 && len(conditionsOf(old, certificatesv1.CertificateDenied)) > 0,
		any:            bytes.Equal(c.Status.Certificate, old.Status.Certificate) || parseChain(old.Status.Certificate) != nil,
	}
	types := make([]certificatesv1.RequestConditionType, len(old.Status.Conditions))
	for i := range types {
		types[i] = old.Status.Conditions[i].Type
	}
	may.repeatedTypes = repeats(types)
	return may
}

func repeats[T comparable](list []T) bool {
	seen := map[T]bool{}
	for _, v := range list {
		if seen[v] {
			return true
		}
		seen[v] = true
	}
	return false
}

func validateCSR(_ *kinds.Request, c csr) field.ErrorList {
	var l check.List
	checkCSR(&l, c, csrLeniency{})
	return l.ErrorList
}

func checkCSR(l *check.List, c csr, may csrLeniency) {
	if err := checkRequest(c.Spec.Request); err != nil {
		l.Add(field.Invalid(specPath.Child("request"), c.Spec.Request, err.Error()))
	}
	at := specPath.Child("usages")
	if len(c.Spec.Usages) == 0 {
		l.Add(field.Required(at, ""))
	}
	for i, u := range c.Spec.Usages {
		if !may.unknownUsages {
			check.OneOf(l, at.Index(i), u, usages...)
		}
		if !may.repeatedUsages && slices.Contains(c.Spec.Usages[:i], u) {
			l.Add(field.Duplicate(at.Index(i), u))
		}
	}
	if signer := specPath.Child("signerName"); c.Spec.SignerName == legacySigner && !may.legacySigner {
		l.Add(field.Invalid(signer, c.Spec.SignerName, "the legacy signerName is not allowed via this API version"))
	} else {
		l.Signer(signer, c.Spec.SignerName)
	}
	if s := c.Spec.ExpirationSeconds; s != nil && *s < shortestCSR {
		l.Add(field.Invalid(specPath.Child("expirationSeconds"), *s, "may not specify a duration less than 600 seconds (10 minutes)"))
	}
	checkConditions(l, c, may)
	if !may.any {
		if err := parseChain(c.Status.Certificate); err != nil {
			l.Add(field.Invalid(certificatePath, "<certificate data>", err.Error()))
		}
	}
}

func checkConditions(l *check.List, c csr, may csrLeniency) {
	seen := map[certificatesv1.RequestConditionType]bool{}
	for i, cond := range c.Status.Conditions {
		at := conditionsPath.Index(i)
		if !may.emptyTypes {
			l.Require(at.Child("type"), string(cond.Type))
		}
		known := []corev1.ConditionStatus{corev1.ConditionFalse, corev1.ConditionTrue, corev1.ConditionUnknown}
		if decisive(cond.Type) {
			// What has been decided is not undecided again: these are there or are not.
			known = known[1:2]
		}
		check.RequiredOneOf(l, at.Child("status"), cond.Status, known...)
		if seen[cond.Type] && !may.repeatedTypes {
			l.Add(field.Duplicate(at.Child("type"), cond.Type))
		}
		seen[cond.Type] = true
	}
	if !may.bothDecisions && seen[certificatesv1.CertificateApproved] && seen[certificatesv1.CertificateDenied] {
		const approved, denied = `conditions[{"type": "Approved"}]`, `conditions[{"type": "Denied"}]`
		l.Add(field.Invalid(conditionsPath, "{"+approved+", "+denied+"}", "must specify at most one of: `"+approved+"`, `"+denied+"`"))
	}
}

var decisions = []certificatesv1.RequestConditionType{certificatesv1.CertificateApproved, certificatesv1.CertificateDenied}

func decisive(t certificatesv1.RequestConditionType) bool {
	return t == certificatesv1.CertificateFailed || slices.Contains(decisions, t)
}

// csrDoor says what an update may do beside changing metadata.
type csrDoor struct{ decides, issues bool }

func (d csrDoor) validate(_ *kinds.Request, c, old csr) field.ErrorList {
	l := check.List{ErrorList: kinds.ValidateMeta(c, kinds.Cluster, kinds.PathSegment)}
	checkCSR(&l, c, lenientTo(c, old))
	for _, t := range append(slices.Clone(decisions), certificatesv1.CertificateFailed) {
		if len(conditionsOf(c, t)) < len(conditionsOf(old, t)) {
			l.Add(field.Forbidden(conditionsPath, fmt.Sprintf("updates may not remove a condition of type %q", t)))
		}
	}
	if !d.decides {
		undecided(&l, c, old)
	}
	if !bytes.Equal(c.Status.Certificate, old.Status.Certificate) {
		if !d.issues {
			l.Add(field.Forbidden(certificatePath, "updates may not set certificate content"))
		} else if len(old.Status.Certificate) > 0 {
			l.Add(field.Forbidden(certificatePath, "updates may not modify existing certificate content"))
		}
	}
	return l.ErrorList
}

// undecided refuses decisions that come or change through a door that is not theirs.
func undecided(l *check.List, c, old csr) {
	for _, t := range decisions {
		now, before := conditionsOf(c, t), conditionsOf(old, t)
		switch {
		case len(now) > len(before):
			l.Add(field.Forbidden(conditionsPath, fmt.Sprintf("updates may not add a condition of type %q", t)))
		case len(now) == len(before) && !apiequality.Semantic.DeepEqual(now, before):
			l.Add(field.Forbidden(conditionsPath, fmt.Sprintf("updates may not modify a condition of type %q\n%v", t, shape.Diff(before, now))))
		}
	}
}

func conditionsOf(c csr, t certificatesv1.RequestConditionType) []certificatesv1.CertificateSigningRequestCondition {
	var out []certificatesv1.CertificateSigningRequestCondition
	for _, cond := range c.Status.Conditions {
		if cond.Type == t {
			out = append(out, cond)
		}
	}
	return out
}
