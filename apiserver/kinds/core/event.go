package core

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

// Event says what happened to an object. The core group and events.k8s.io are two views of one store, whose fields differ
// in name. Events are not cached: they are many, written often and read rarely.
var Event = kinds.Define(kinds.Row[*corev1.Event]{
	Resource: "events", ShortNames: []string{"ev"}, Scope: kinds.Namespaced, Uncached: true, AllowCreateOnUpdate: true,
	AlsoServed: []kinds.Version{eventsV1},
	Name:       kinds.PathSegment, AnyFinalizer: true,
	Validate: validateNewEvent, ValidateUpdate: validateEventUpdate,
	Fields:  eventFields,
	Columns: eventColumns(),
})

func eventFields(e *corev1.Event) fields.Set {
	source := e.Source.Component
	if source == "" {
		source = e.ReportingController
	}
	return fields.Set{
		"involvedObject.kind":            e.InvolvedObject.Kind,
		"involvedObject.namespace":       e.InvolvedObject.Namespace,
		"involvedObject.name":            e.InvolvedObject.Name,
		"involvedObject.uid":             string(e.InvolvedObject.UID),
		"involvedObject.apiVersion":      e.InvolvedObject.APIVersion,
		"involvedObject.resourceVersion": e.InvolvedObject.ResourceVersion,
		"involvedObject.fieldPath":       e.InvolvedObject.FieldPath,
		"reason":                         e.Reason,
		"reportingComponent":             e.ReportingController,
		"source":                         source,
		"type":                           e.Type,
	}
}

func eventColumns() []kinds.Column[*corev1.Event] {
	doc := corev1.Event{}
	name := kinds.NameColumn[*corev1.Event]()
	name.Priority = 1
	return []kinds.Column[*corev1.Event]{
		{Name: "Last Seen", Description: kinds.Doc(doc, "lastTimestamp"), Cell: func(e *corev1.Event) any { return lastSeen(e) }},
		{Name: "Type", Description: kinds.Doc(doc, "type"), Cell: func(e *corev1.Event) any { return e.Type }},
		{Name: "Reason", Description: kinds.Doc(doc, "reason"), Cell: func(e *corev1.Event) any { return e.Reason }},
		{Name: "Object", Description: kinds.Doc(doc, "involvedObject"), Cell: func(e *corev1.Event) any {
			if e.InvolvedObject.Name == "" {
				return strings.ToLower(e.InvolvedObject.Kind)
			}
			return strings.ToLower(e.InvolvedObject.Kind) + "/" + e.InvolvedObject.Name
		}},
		{Name: "Subobject", Priority: 1, Description: kinds.Doc(corev1.ObjectReference{}, "fieldPath"),
			Cell: func(e *corev1.Event) any { return e.InvolvedObject.FieldPath }},
		{Name: "Source", Priority: 1, Description: kinds.Doc(doc, "source"), Cell: func(e *corev1.Event) any {
			component, host := e.Source.Component, e.Source.Host
			if component == "" {
				component, host = e.ReportingController, e.ReportingInstance
			}
			if host == "" {
				return component
			}
			return component + ", " + host
		}},
		{Name: "Message", Description: kinds.Doc(doc, "message"), Cell: func(e *corev1.Event) any { return strings.TrimSpace(e.Message) }},
		{Name: "First Seen", Priority: 1, Description: kinds.Doc(doc, "firstTimestamp"), Cell: func(e *corev1.Event) any { return firstSeen(e) }},
		{Name: "Count", Priority: 1, Description: kinds.Doc(doc, "count"), Cell: func(e *corev1.Event) any {
			if e.Series != nil {
				return int64(e.Series.Count)
			}
			if e.Count == 0 {
				return int64(1)
			}
			return int64(e.Count)
		}},
		name,
	}
}

func firstSeen(e *corev1.Event) string {
	if e.FirstTimestamp.IsZero() {
		return kinds.MicroAge(e.EventTime)
	}
	return kinds.Age(e.FirstTimestamp)
}

func lastSeen(e *corev1.Event) string {
	switch {
	case e.Series != nil:
		return kinds.MicroAge(e.Series.LastObservedTime)
	case e.LastTimestamp.IsZero():
		return firstSeen(e)
	}
	return kinds.Age(e.LastTimestamp)
}
