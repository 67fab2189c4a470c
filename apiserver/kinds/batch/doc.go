// Package batch holds the rows of Jobs and CronJobs.
package batch
