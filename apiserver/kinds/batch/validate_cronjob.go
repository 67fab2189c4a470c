package batch

import (
	"fmt"
	"regexp"
	"strings"
	"time"
	// Time zones are known wherever the server runs, with or without a database of its own on the machine.
	_ "time/tzdata"

	"github.com/robfig/cron/v3"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/check"
)

// longestCronJobName leaves room for the time at the end of its jobs' names.
const longestCronJobName = validation.DNS1035LabelMaxLength - 11

func validateNewCronJob(_ *kinds.Request, c *batchv1.CronJob) field.ErrorList {
	l := check.List{ErrorList: cronJob(c, nil)}
	if len(c.Name) > longestCronJobName {
		l.Add(field.Invalid(field.NewPath("metadata", "name"), c.Name, "must be no more than 52 characters"))
	}
	return l.ErrorList
}

func validateCronJobUpdate(_ *kinds.Request, c, old *batchv1.CronJob) field.ErrorList {
	return cronJob(c, old)
}

func cronJob(c, old *batchv1.CronJob) field.ErrorList {
	var l check.List
	spec := &c.Spec
	if l.Require(specPath.Child("schedule"), spec.Schedule) {
		schedule(&l, spec, old != nil && strings.Contains(old.Spec.Schedule, "TZ"), specPath.Child("schedule"))
	}
	if n := spec.StartingDeadlineSeconds; n != nil {
		l.NotNegative(specPath.Child("startingDeadlineSeconds"), *n)
	}
	if spec.TimeZone != nil && (old == nil || !same(old.Spec.TimeZone, spec.TimeZone)) {
		timeZone(&l, *spec.TimeZone, specPath.Child("timeZone"))
	}
	check.RequiredOneOf(&l, specPath.Child("concurrencyPolicy"), spec.ConcurrencyPolicy, batchv1.AllowConcurrent, batchv1.ForbidConcurrent, batchv1.ReplaceConcurrent)

	var before *corev1.PodTemplateSpec
	if old != nil {
		before = &old.Spec.JobTemplate.Spec.Template
	}
	job, at := &spec.JobTemplate.Spec, specPath.Child("jobTemplate", "spec")
	jobSpec(&l, job, before, at)
	if job.Selector != nil {
		l.Add(field.Invalid(at.Child("selector"), job.Selector, "`selector` will be auto-generated"))
	}
	if m := job.ManualSelector; m != nil && *m {
		l.Add(field.NotSupported(at.Child("manualSelector"), *m, []string{"nil", "false"}))
	}
	for _, n := range []struct {
		name  string
		value *int32
	}{{"successfulJobsHistoryLimit", spec.SuccessfulJobsHistoryLimit}, {"failedJobsHistoryLimit", spec.FailedJobsHistoryLimit}} {
		if n.value != nil {
			l.NotNegative(specPath.Child(n.name), int64(*n.value))
		}
	}
	return l.ErrorList
}

// schedule: a zone has a field of its own; in the text only old objects may keep one.
func schedule(l *check.List, spec *batchv1.CronJobSpec, zoneWasInText bool, at *field.Path) {
	if err := parseSchedule(spec.Schedule); err != nil {
		l.Add(field.Invalid(at, spec.Schedule, err.Error()))
	}
	if !strings.Contains(spec.Schedule, "TZ") {
		return
	}
	if !zoneWasInText {
		l.Add(field.Invalid(at, spec.Schedule, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"))
	} else if spec.TimeZone != nil {
		l.Add(field.Invalid(at, spec.Schedule, "cannot use both timeZone field and TZ or CRON_TZ in schedule"))
	}
}

// parseSchedule: the library panics on some texts with a zone and nothing after it.
func parseSchedule(text string) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("invalid schedule format: %v", p)
		}
	}()
	_, err = cron.ParseStandard(text)
	return err
}

// zonePart is a part of a zone's name as IANA forms them; digits and + are of older names.
var zonePart = regexp.MustCompile(`^[A-Za-z\.\-_0-9+]{1,14}$`)

func timeZone(l *check.List, zone string, at *field.Path) {
	if zone == "" {
		l.Add(field.Invalid(at, zone, "timeZone must be nil or non-empty string"))
		return
	}
	for _, part := range strings.Split(zone, "/") {
		if part == "." || part == ".." || strings.HasPrefix(part, "-") || !zonePart.MatchString(part) {
			l.Add(field.Invalid(at, zone, fmt.Sprintf("unknown time zone %s", zone)))
			return
		}
	}
	if strings.EqualFold(zone, "Local") {
		l.Add(field.Invalid(at, zone, "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"))
	}
	if _, err := time.LoadLocation(zone); err != nil {
		l.Add(field.Invalid(at, zone, err.Error()))
	}
}
