package storagemigration

import (
	"testing"

	"github.com/skiff-project/skiff/apiserver/kinds/internal/kindtest"
)

func TestMigrations(t *testing.T) {
	const pods = `spec: {resource: {resource: pods}}`
	done := func(typ, status string) string {
		return `status: {conditions: [{type: ` + typ + `, status: "` + status + `", reason: R, message: m, lastTransitionTime: "2024-01-01T00:00:00Z"}]}`
	}
	kindtest.Run(t, StorageVersionMigration, "m", []kindtest.Case{
		{Name: "of pods", Object: pods},
		{Name: "of nothing", Object: `spec: {}`, Want: []string{"resource is required to be set"}},
		{Name: "of something else", Object: `spec: {resource: {resource: nodes}}`, Old: pods, Want: []string{"spec: Invalid value"}},
		{Name: "it ends", Object: done("Succeeded", "True"), Old: pods, Door: "status"},
		{Name: "and stays ended", Object: done("Succeeded", "False"), Old: done("Succeeded", "True"), Door: "status", Want: []string{"Success condition cannot be set to false once it is true"}},
	})
}
