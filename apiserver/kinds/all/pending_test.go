package all

import (
	"strings"
	"testing"
)

// pending are the kinds of upstream that have no row yet. The list may only get shorter: a kind that is missing and not
// named here fails, and so does one that is named here and has a row.
var pending = map[string]bool{
	"admissionregistration.k8s.io/v1/mutatingadmissionpolicies":         true,
	"admissionregistration.k8s.io/v1/mutatingadmissionpolicybindings":   true,
	"admissionregistration.k8s.io/v1/mutatingwebhookconfigurations":     true,
	"admissionregistration.k8s.io/v1/validatingadmissionpolicies":       true,
	"admissionregistration.k8s.io/v1/validatingadmissionpolicybindings": true,
	"admissionregistration.k8s.io/v1/validatingwebhookconfigurations":   true,
	"apiextensions.k8s.io/v1/customresourcedefinitions":                 true,
	"apiregistration.k8s.io/v1/apiservices":                             true,
	"autoscaling/v1/horizontalpodautoscalers":                           true,
	"autoscaling/v2/horizontalpodautoscalers":                           true,
	"flowcontrol.apiserver.k8s.io/v1/flowschemas":                       true,
	"flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations":       true,
	"resource.k8s.io/v1/deviceclasses":                                  true,
	"resource.k8s.io/v1/devicetaintrules":                               true,
	"resource.k8s.io/v1/resourceclaims":                                 true,
	"resource.k8s.io/v1/resourceclaimtemplates":                         true,
	"resource.k8s.io/v1/resourceslices":                                 true,
	"storagemigration.k8s.io/v1/storageversionmigrations":               true,
}

func missing(t *testing.T, name string) {
	t.Helper()
	if !pending[name] {
		t.Errorf("%s is not in the list of kinds", name)
	}
}

// missingKey is missing for a prefix in etcd, which ends in the resource's name.
func missingKey(t *testing.T, prefix string) {
	t.Helper()
	for name := range pending {
		if strings.HasSuffix(strings.TrimSuffix(prefix, "/"), name[strings.LastIndex(name, "/"):]) {
			return
		}
	}
	t.Errorf("nothing is stored below %s", prefix)
}

func TestPendingKindsHaveNoRow(t *testing.T) {
	have := served()
	for name := range pending {
		if have[name] != nil {
			t.Errorf("%s has a row: take it off the list", name)
		}
	}
}
