package storagemigration

import (
	migrationv1 "k8s.io/api/storagemigration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

// StorageVersionMigration asks for the objects of a resource to be written anew.
var StorageVersionMigration = kinds.Define(kinds.Row[*migrationv1.StorageVersionMigration]{
	Resource: "storageversionmigrations", StorageVersion: "v1beta1", Generation: kinds.GenerationNever,
	NoUnconditionalUpdate: true, StatusResetsMeta: true, StatusResets: []string{"metadata", "spec"},
	Validate: validate, ValidateUpdate: validateUpdate, Revalidate: true, ValidateStatus: validateStatus,
	Columns: []kinds.Column[*migrationv1.StorageVersionMigration]{
		{Name: "Name", Description: kinds.Doc(metav1.ObjectMeta{}, "name"),
			Cell: func(m *migrationv1.StorageVersionMigration) any { return m.Name }},
		{Name: "Resource", Description: "GroupResource to migrate",
			Cell: func(m *migrationv1.StorageVersionMigration) any { return m.Spec.Resource.String() }},
		{Name: "Status", Description: "Status of the migration", Cell: progress},
	},
})

// progress is the last condition that holds, of those that say how far a migration is.
func progress(m *migrationv1.StorageVersionMigration) any {
	text := "Unknown"
	for _, c := range m.Status.Conditions {
		switch migrationv1.MigrationConditionType(c.Type) {
		case migrationv1.MigrationRunning, migrationv1.MigrationFailed, migrationv1.MigrationSucceeded:
			if c.Status == metav1.ConditionTrue {
				text = c.Type
			}
		}
	}
	return text
}
