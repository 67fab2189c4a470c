// Package storagemigration holds the row of StorageVersionMigrations.
package storagemigration
