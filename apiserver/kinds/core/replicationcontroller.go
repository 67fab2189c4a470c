package core

import (
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/podspec"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/show"
)

// ReplicationController keeps a number of pods; ReplicaSet is its successor.
var ReplicationController = kinds.Define(kinds.Row[*corev1.ReplicationController]{
	Resource: "replicationcontrollers", DefaultOrphan: true, ShortNames: []string{"rc"}, Categories: []string{"all"}, Scope: kinds.Namespaced,
	EtcdPrefix: "controllers", Name: longName,
	Fields: func(rc *corev1.ReplicationController) fields.Set {
		return fields.Set{"status.replicas": strconv.Itoa(int(rc.Status.Replicas))}
	},
	PrepareCreate: func(_ *kinds.Request, rc *corev1.ReplicationController) {
		podspec.DropTemplateOff(rc.Spec.Template, nil)
	},
	PrepareUpdate: func(_ *kinds.Request, rc, old *corev1.ReplicationController) {
		podspec.DropTemplateOff(rc.Spec.Template, old.Spec.Template)
	},
	Validate: validateNewReplicationController, ValidateUpdate: validateReplicationControllerUpdate,
	ValidateStatus: validateReplicationControllerStatus, Warnings: replicationControllerWarnings,
	Default: defaultReplicationController,
	Columns: append([]kinds.Column[*corev1.ReplicationController]{
		kinds.NameColumn[*corev1.ReplicationController](),
		{Name: "Desired", Type: "integer", Description: kinds.Doc(corev1.ReplicationControllerSpec{}, "replicas"),
			Cell: func(rc *corev1.ReplicationController) any { return show.Replicas(rc.Spec.Replicas) }},
		{Name: "Current", Type: "integer", Description: kinds.Doc(corev1.ReplicationControllerStatus{}, "replicas"),
			Cell: func(rc *corev1.ReplicationController) any { return int64(rc.Status.Replicas) }},
		{Name: "Ready", Type: "integer", Description: kinds.Doc(corev1.ReplicationControllerStatus{}, "readyReplicas"),
			Cell: func(rc *corev1.ReplicationController) any { return int64(rc.Status.ReadyReplicas) }},
		kinds.AgeColumn[*corev1.ReplicationController]()},
		append(show.Template(func(rc *corev1.ReplicationController) *corev1.PodTemplateSpec { return rc.Spec.Template }),
			kinds.Column[*corev1.ReplicationController]{Name: "Selector", Priority: 1,
				Description: kinds.Doc(corev1.ReplicationControllerSpec{}, "selector"),
				Cell:        func(rc *corev1.ReplicationController) any { return show.Labels(rc.Spec.Selector) }})...),
	Scale: &kinds.Scale[*corev1.ReplicationController]{
		Get: func(rc *corev1.ReplicationController) (int32, int32, string) {
			return int32(show.Replicas(rc.Spec.Replicas)), rc.Status.Replicas, labels.Set(rc.Spec.Selector).AsSelector().String()
		},
		Set: func(rc *corev1.ReplicationController, n int32) { rc.Spec.Replicas = &n },
	},
})

// longName is a subdomain in the words of upstream's newer rules, which do not look at prefixes of generated names.
func longName(name string, prefix bool) []string {
	if prefix {
		return nil
	}
	return content.IsDNS1123Subdomain(name)
}
