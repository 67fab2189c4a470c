package kinds

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
)

// Documented is what the generated types of k8s.io/api are: they carry the descriptions of their fields.
type Documented interface{ SwaggerDoc() map[string]string }

// Doc is the description of a field of an API type, as OpenAPI and the tables show it.
func Doc(of Documented, field string) string {
	text, ok := of.SwaggerDoc()[field]
	if !ok {
		panic(fmt.Sprintf("kinds: %T has no documented field %q", of, field))
	}
	return text
}

// NameColumn is the first column of nearly all tables.
func NameColumn[T metav1.Object]() Column[T] {
	return Column[T]{Name: "Name", Format: "name", Description: Doc(metav1.ObjectMeta{}, "name"),
		Cell: func(o T) any { return o.GetName() }}
}

// AgeColumn says how long ago the object was created.
func AgeColumn[T metav1.Object]() Column[T] {
	return Column[T]{Name: "Age", Description: Doc(metav1.ObjectMeta{}, "creationTimestamp"),
		Cell: func(o T) any { return Age(o.GetCreationTimestamp()) }}
}

// CreatedAtColumn is what kinds without a table of their own show instead of an age.
func CreatedAtColumn[T metav1.Object]() Column[T] {
	return Column[T]{Name: "Created At", Type: "date", Description: Doc(metav1.ObjectMeta{}, "creationTimestamp"),
		Cell: func(o T) any { return o.GetCreationTimestamp().UTC().Format(time.RFC3339) }}
}

// PlainColumns are the columns of a kind that has no table of its own.
func PlainColumns[T metav1.Object]() []Column[T] {
	return []Column[T]{NameColumn[T](), CreatedAtColumn[T]()}
}

// Age is the time since t as tables show it.
func Age(t metav1.Time) string {
	if t.IsZero() {
		return "<unknown>"
	}
	return duration.HumanDuration(time.Since(t.Time))
}

// MicroAge is Age for times with microseconds.
func MicroAge(t metav1.MicroTime) string {
	if t.IsZero() {
		return "<unknown>"
	}
	return duration.HumanDuration(time.Since(t.Time))
}
