package certificates

import (
	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/fields"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

// ClusterTrustBundle holds trust anchors for pods.
var ClusterTrustBundle = kinds.Define(kinds.Row[*certificatesv1.ClusterTrustBundle]{
	Resource: "clustertrustbundles", StorageVersion: "v1beta1", Name: kinds.AnyName,
	Fields: func(b *certificatesv1.ClusterTrustBundle) fields.Set {
		return fields.Set{"spec.signerName": b.Spec.SignerName}
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
