package storage

import (
	"testing"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/kindtest"

	storagev1 "k8s.io/api/storage/v1"
)

func TestStorageRules(t *testing.T) {
	kindtest.Run(t, StorageClass, "fast", []kindtest.Case{
		{Name: "a provisioner", Object: `provisioner: Example.com/disk`},
		{Name: "none", Object: `{}`, Want: []string{"provisioner: Required value"}},
		{Name: "a policy of volumes only", Object: `{provisioner: a, reclaimPolicy: Recycle}`, Want: []string{`reclaimPolicy: Unsupported value: "Recycle"`}},
		{Name: "a topology twice", Object: `{provisioner: a, allowedTopologies: [{matchLabelExpressions: [{key: z, values: [b, a]}]}, {matchLabelExpressions: [{key: z, values: [a, b]}]}]}`,
			Want: []string{"allowedTopologies[1].matchLabelExpressions: Duplicate value"}},
		{Name: "other parameters", Object: `{provisioner: a, parameters: {k: w}}`, Old: `{provisioner: a, parameters: {k: v}}`,
			Want: []string{"parameters: Invalid value: null: field is immutable"}},
		{Name: "expansion may be allowed later", Object: `{provisioner: a, allowVolumeExpansion: true}`, Old: `provisioner: a`},
	})
	kindtest.Run(t, VolumeAttributesClass, "gold", []kindtest.Case{
		{Name: "no parameters", Object: `driverName: a`, Want: []string{"must contain at least one key/value pair"}},
		{Name: "another driver", Object: `{driverName: b, parameters: {k: v}}`, Old: `{driverName: a, parameters: {k: v}}`, Want: []string{"updates to driverName are forbidden."}},
	})
	kindtest.Run(t, CSIDriver, "d", []kindtest.Case{
		{Name: "all defaults", Object: `spec: {}`},
		{Name: "tokens that end too soon", Object: `spec: {tokenRequests: [{audience: a, expirationSeconds: 5}]}`, Want: []string{"may not specify a duration less than 10 minutes"}},
		{Name: "tokens in secrets, and no tokens", Object: `spec: {serviceAccountTokenInSecrets: true}`, Want: []string{"no tokenRequests are specified"}},
		{Name: "volumes are attached after all", Object: `spec: {attachRequired: true}`, Old: `spec: {attachRequired: false}`, Want: []string{"spec.attachedRequired"}},
	})
	kindtest.Run(t, CSINode, "n", []kindtest.Case{
		{Name: "a driver twice", Object: `spec: {drivers: [{name: d, nodeID: n}, {name: d, nodeID: n}]}`, Want: []string{"spec.drivers[1].name: Duplicate value"}},
		{Name: "more volumes", Object: `spec: {drivers: [{name: d, nodeID: n, allocatable: {count: 9}}]}`, Old: `spec: {drivers: [{name: d, nodeID: n, allocatable: {count: 8}}]}`},
		{Name: "another node ID", Object: `spec: {drivers: [{name: d, nodeID: m}]}`, Old: `spec: {drivers: [{name: d, nodeID: n}]}`, Want: []string{"spec.drivers: Invalid value"}},
	})
	const attached = `spec: {attacher: d, nodeName: n, source: {persistentVolumeName: v}}`
	kindtest.Run(t, VolumeAttachment, "a", []kindtest.Case{
		{Name: "a volume", Object: attached},
		{Name: "no volume", Object: `spec: {attacher: d, nodeName: n, source: {}}`, Want: []string{"must specify exactly one of inlineVolumeSpec and persistentVolumeName"}},
		{Name: "a volume inside that is not CSI's", Object: `spec: {attacher: d, nodeName: n, source: {inlineVolumeSpec: {accessModes: [ReadWriteOnce], capacity: {storage: 1Gi}, hostPath: {path: /a}}}}`,
			Want: []string{"capacity: Forbidden: may not be specified in the context of inline volumes", "csi: Required value: has to be specified in the context of inline volumes"}},
		{Name: "another node", Object: `spec: {attacher: d, nodeName: m, source: {persistentVolumeName: v}}`, Old: attached, Want: []string{"spec: Invalid value: null: field is immutable"}},
		{Name: "an error code below zero", Object: `status: {attachError: {errorCode: -1}}`, Old: attached, Door: "status", Want: []string{"status.attachError.errorCode"}},
	})
	kindtest.Run(t, CSIStorageCapacity, "c", []kindtest.Case{
		{Name: "less than nothing", Object: `{storageClassName: a, capacity: "-1"}`, Want: []string{"capacity: Invalid value"}},
		{Name: "another class", Object: `storageClassName: b`, Old: `storageClassName: a`, Want: []string{"storageClassName: Invalid value"}},
	})
}

func TestADriversFirstVersionHasNoNumber(t *testing.T) {
	old := kindtest.Read(t, CSIDriver, "d", `spec: {}`).(*storagev1.CSIDriver)
	CSIDriver.PrepareCreate(&kinds.Request{}, old)
	now := kindtest.Read(t, CSIDriver, "d", `spec: {requiresRepublish: true}`).(*storagev1.CSIDriver)
	CSIDriver.PrepareUpdate(&kinds.Request{}, now, old)
	if old.Generation != 0 || now.Generation != 1 {
		t.Errorf("generations %d, %d", old.Generation, now.Generation)
	}
}
