// Package cronjob starts a Job each time that a CronJob's schedule comes round.
//
// It owns: the Jobs controlled by a CronJob (it creates them, and deletes them beyond the history limits or when they are
// to be replaced) and the CronJob's status.
// It is woken by: CronJobs, their Jobs, and the next time of the schedule. It never touches: pods.
//
// A Job's name is the CronJob's and the minute for which it was due: after a crash, or a stale read, a second Job for the
// same minute is refused by the server.
package cronjob
