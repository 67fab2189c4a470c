// Package storageversionmigrator has objects written anew, in the form that the server stores now: another version, or
// encrypted with another key. Each StorageVersionMigration names one resource.
//
// It owns: the status of StorageVersionMigrations. It is woken by: them. It never touches: what is in the objects; it sends
// patches that change nothing, and the server writes those whose stored form is not today's.
package storageversionmigrator
