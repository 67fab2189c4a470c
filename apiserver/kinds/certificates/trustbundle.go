package certificates

import (
	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/check"
)

// ClusterTrustBundle holds trust anchors for pods.
var ClusterTrustBundle = kinds.Define(kinds.Row[*certificatesv1.ClusterTrustBundle]{
	Resource: "clustertrustbundles", StorageVersion: "v1beta1", Name: kinds.AnyName, NoUnconditionalUpdate: true,
	Fields: func(b *certificatesv1.ClusterTrustBundle) fields.Set {
		return fields.Set{"spec.signerName": b.Spec.SignerName}
	},
	Validate: func(_ *kinds.Request, b *certificatesv1.ClusterTrustBundle) field.ErrorList {
		var l check.List
		bundle(&l, b)
		anchors(&l, specPath.Child("trustBundle"), b.Spec.TrustBundle)
		return l.ErrorList
	},
	ValidateUpdate: func(_ *kinds.Request, b, old *certificatesv1.ClusterTrustBundle) field.ErrorList {
		l := check.List{ErrorList: kinds.ValidateMeta(b, kinds.Cluster, kinds.AnyName)}
		bundle(&l, b)
		if b.Spec.TrustBundle != old.Spec.TrustBundle {
			anchors(&l, specPath.Child("trustBundle"), b.Spec.TrustBundle)
		}
		l.Immutable(specPath.Child("signerName"), b.Spec.SignerName, old.Spec.SignerName)
		return l.ErrorList
	},
	Columns: []kinds.Column[*certificatesv1.ClusterTrustBundle]{
		kinds.NameColumn[*certificatesv1.ClusterTrustBundle](),
		{Name: "SignerName", Description: kinds.Doc(certificatesv1.ClusterTrustBundleSpec{}, "signerName"), Cell: func(b *certificatesv1.ClusterTrustBundle) any {
			if b.Spec.SignerName == "" {
				return "<none>"
			}
			return b.Spec.SignerName
		}},
	},
})

// bundle checks the name, whose rule the signer sets, and the signer.
func bundle(l *check.List, b *certificatesv1.ClusterTrustBundle) {
	rule, meta := check.BundleName(b.Spec.SignerName), field.NewPath("metadata")
	if b.GenerateName != "" {
		l.Messages(meta.Child("generateName"), b.GenerateName, rule(b.GenerateName, true))
	}
	if b.Name != "" {
		l.Name(meta.Child("name"), b.Name, rule)
	}
	if b.Spec.SignerName != "" {
		l.Signer(specPath.Child("signerName"), b.Spec.SignerName)
	}
}
