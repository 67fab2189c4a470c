package ownership

import (
	"fmt"
	"math/rand"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/randfill"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

// stored are the groups whose GA types are stored somewhere: every type with metadata and a list of its own.
func stored(t *testing.T) []*kinds.Kind {
	var out []*kinds.Kind
	for gvk := range kinds.Scheme.AllKnownTypes() {
		if gvk.Version != "v1" && !(gvk.Group == "autoscaling" && gvk.Version == "v2") || strings.HasSuffix(gvk.Kind, "List") {
			continue
		}
		if !kinds.Scheme.Recognizes(gvk.GroupVersion().WithKind(gvk.Kind + "List")) {
			continue
		}
		obj, err := kinds.Scheme.New(gvk)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := meta.Accessor(obj); err != nil {
			continue
		}
		v := kinds.Version{GVK: gvk, New: func() runtime.Object { o, _ := kinds.Scheme.New(gvk); return o }}
		out = append(out, &kinds.Kind{GVK: gvk, Served: []kinds.Version{v}, Stored: v, New: v.New, Default: func(runtime.Object) {},
			Subresources: map[string]*kinds.Subresource{"status": {Update: &kinds.UpdateDoor{Resets: []string{"spec", "metadata.labels"}}}}})
	}
	return out
}

type same struct{}

func (same) FromHub(obj runtime.Object, _ schema.GroupVersion) (runtime.Object, error) {
	return obj, nil
}
func (same) ToHub(obj runtime.Object) (runtime.Object, error) { return obj, nil }

func filler(seed int64) *randfill.Filler {
	return randfill.NewWithSeed(seed).NilChance(0.4).NumElements(0, 3).MaxDepth(12).Funcs(
		func(s *string, c randfill.Continue) {
			*s = []string{"", "a", "b", "c", "long value", "<&>", "é\"\\"}[c.Intn(7)]
		},
		func(q *resource.Quantity, c randfill.Continue) {
			*q = resource.MustParse([]string{"0", "1", "1000m", "1Ki", "1024", "2"}[c.Intn(6)])
		},
		func(t *metav1.Time, c randfill.Continue) {
			if *t = (metav1.Time{}); c.Intn(3) > 0 {
				*t = metav1.Unix(1_700_000_000+int64(c.Intn(2)), int64(c.Intn(2))*1000)
			}
		},
		func(t *metav1.MicroTime, c randfill.Continue) {
			if *t = (metav1.MicroTime{}); c.Intn(3) > 0 {
				*t = metav1.MicroTime{Time: time.Unix(1_700_000_000, int64(c.Intn(2))*1000)}
			}
		},
		func(v *intstr.IntOrString, c randfill.Continue) {
			*v = []intstr.IntOrString{intstr.FromInt32(1), intstr.FromString("1"), intstr.FromString("x")}[c.Intn(3)]
		},
		func(r *runtime.RawExtension, c randfill.Continue) {
			*r = runtime.RawExtension{Raw: []byte([]string{`{"a":1}`, `{"a":{"b":[1]}}`, `{}`}[c.Intn(3)])}
		},
		func(j *apiextensionsv1.JSON, c randfill.Continue) {
			*j = apiextensionsv1.JSON{Raw: []byte([]string{`{"a":1}`, `1`, `"x"`}[c.Intn(3)])}
		},
		func(m *metav1.ObjectMeta, c randfill.Continue) {
			c.FillNoCustom(m)
			m.ManagedFields, m.UID = nil, "u"
		},
		func(f *metav1.FieldsV1, c randfill.Continue) { *f = *metav1.NewFieldsV1("{}") },
	)
}

// share puts what two objects have in common into the same memory, as updates do with what they leave alone.
func share(obj, with runtime.Object) {
	x, y := reflect.ValueOf(obj).Elem(), reflect.ValueOf(with).Elem()
	for i := range x.NumField() {
		if reflect.DeepEqual(x.Field(i).Interface(), y.Field(i).Interface()) {
			x.Field(i).Set(y.Field(i))
		}
	}
}

// TestWalkerAgreesWithTheLibrary is what lets the walker stand in for it: random objects of every kind, created and then
// updated several times through the main resource and a subresource, must be recorded equally.
func TestWalkerAgreesWithTheLibrary(t *testing.T) {
	types := BuiltIn()
	walked, odd := 0, 0
	for _, kind := range stored(t) {
		t.Run(kind.GVK.GroupKind().String(), func(t *testing.T) {
			f := &Factory{Types: types}
			var trackers []*fast
			for _, subresource := range []string{"", "status"} {
				tracker, err := f.Tracker(kind, &kind.Served[0], subresource, same{})
				if err != nil {
					t.Skip(err)
				}
				fast, ok := tracker.(*fast)
				if !ok {
					if _, err := types.ObjectToTyped(emptyOf(kind)); err != nil {
						return // no schema: not a kind that is served
					}
					t.Fatal("cannot be walked")
				}
				trackers = append(trackers, fast)
			}
			for seed := range int64(12) {
				fill := filler(seed)
				random := rand.New(rand.NewSource(seed))
				live := emptyOf(kind)
				for step := range 5 {
					obj := emptyOf(kind)
					fill.Fill(obj)
					obj.GetObjectKind().SetGroupVersionKind(kind.GVK)
					if random.Intn(3) > 0 && step > 0 {
						// Mostly a small change.
						obj = live.DeepCopyObject()
						m, _ := meta.Accessor(obj)
						m.SetLabels(map[string]string{"a": fmt.Sprint(step)})
						m.SetUID("u")
						fill.Fill(someField(obj, random))
						dropFilled(obj)
					}
					tracker := trackers[random.Intn(len(trackers))]
					manager := []string{"one", "two", ""}[random.Intn(3)]
					want := tracker.library.Update(live.DeepCopyObject(), obj.DeepCopyObject(), manager)
					before, got := live.DeepCopyObject(), obj.DeepCopyObject()
					if seed%2 == 0 {
						share(got, before)
					}
					if walked++; !tracker.record(before, got, manager) {
						odd++
						got = tracker.library.Update(live.DeepCopyObject(), obj.DeepCopyObject(), manager)
					}
					if a, b := fieldsOf(t, want), fieldsOf(t, got); a != b {
						t.Fatalf("seed %d step %d manager %q subresource %q:\n%s", seed, step, manager, tracker.subresource, cmp.Diff(strings.Split(a, "\n"), strings.Split(b, "\n")))
					}
					live = got
				}
			}
		})
	}
	t.Logf("%d of %d updates were left to the library", odd, walked)
	if odd > walked/2 {
		t.Errorf("the library had to be asked in %d of %d cases", odd, walked)
	}
}

func emptyOf(kind *kinds.Kind) runtime.Object {
	obj := kind.New()
	obj.GetObjectKind().SetGroupVersionKind(kind.GVK)
	return obj
}

// dropFilled takes away the managed fields that a filler made of nothing.
func dropFilled(obj runtime.Object) {
	m, _ := meta.Accessor(obj)
	entries := m.GetManagedFields()
	for i := range entries {
		if entries[i].FieldsType == "" {
			m.SetManagedFields(nil)
			return
		}
	}
}

func someField(obj runtime.Object, random *rand.Rand) any {
	v := reflect.ValueOf(obj).Elem()
	for {
		if f := v.Field(random.Intn(v.NumField())); f.Type() != reflect.TypeFor[metav1.TypeMeta]() && f.Type() != reflect.TypeFor[metav1.ObjectMeta]() {
			return f.Addr().Interface()
		} else if v.NumField() == 2 {
			return v.FieldByName("ObjectMeta").FieldByName("Annotations").Addr().Interface()
		}
	}
}

// fieldsOf is the managed fields as text, without their times.
func fieldsOf(t *testing.T, obj runtime.Object) string {
	m, err := meta.Accessor(obj)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range m.GetManagedFields() {
		stamp := "now"
		if e.Time == nil {
			stamp = "never"
		}
		out = append(out, fmt.Sprintf("%s %s %s %q %s %s", e.Manager, e.Operation, e.APIVersion, e.Subresource, stamp, e.FieldsV1.GetRawString()))
	}
	// The order goes by the time first, and the clock may tick between the two.
	slices.Sort(out)
	return strings.Join(out, "\n")
}

func podUpdate() (live, obj *corev1.Pod) {
	pod := &corev1.Pod{TypeMeta: metav1.TypeMeta{Kind: "Pod", APIVersion: "v1"}, ObjectMeta: metav1.ObjectMeta{
		Name: "p", Namespace: "n", Labels: map[string]string{"app": "x", "hash": "y"}, GenerateName: "p-",
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "rs", UID: "some-uid"}},
	}, Spec: corev1.PodSpec{
		RestartPolicy: "Always", DNSPolicy: "ClusterFirst", SchedulerName: "default-scheduler",
		Containers: []corev1.Container{{
			Name: "c", Image: "i", ImagePullPolicy: "IfNotPresent", TerminationMessagePath: "/dev/termination-log",
			Env:       []corev1.EnvVar{{Name: "A", Value: "1"}, {Name: "B", Value: "2"}},
			Ports:     []corev1.ContainerPort{{ContainerPort: 80, Protocol: "TCP"}},
			Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": resource.MustParse("100m")}},
		}},
	}}
	done := pod.DeepCopy()
	done.UID = "u"
	done.Status = corev1.PodStatus{Phase: "Running", PodIP: "10.0.0.1", PodIPs: []corev1.PodIP{{IP: "10.0.0.1"}},
		Conditions: []corev1.PodCondition{{Type: "Ready", Status: "True", LastTransitionTime: metav1.Now()}, {Type: "Initialized", Status: "True"}}}
	return pod, done
}

func BenchmarkPodStatus(b *testing.B) {
	gvk := corev1.SchemeGroupVersion.WithKind("Pod")
	v := kinds.Version{GVK: gvk, New: func() runtime.Object { return &corev1.Pod{} }}
	kind := &kinds.Kind{GVK: gvk, Served: []kinds.Version{v}, New: v.New, Default: func(runtime.Object) {},
		Subresources: map[string]*kinds.Subresource{"status": {Update: &kinds.UpdateDoor{Resets: []string{"spec"}}}}}
	f := &Factory{Types: BuiltIn()}
	main, err := f.Tracker(kind, &v, "", same{})
	if err != nil {
		b.Fatal(err)
	}
	status, err := f.Tracker(kind, &v, "status", same{})
	if err != nil {
		b.Fatal(err)
	}
	created, running := podUpdate()
	live := main.Update(emptyOf(kind), created, "controller").(*corev1.Pod)
	live.UID = "u"
	running.ManagedFields = live.ManagedFields
	for name, tracker := range map[string]Tracker{"walker": status, "library": &status.(*fast).library} {
		b.Run(name+"/status", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				tracker.Update(live, running, "agent")
			}
		})
	}
	for name, tracker := range map[string]Tracker{"walker": main, "library": &main.(*fast).library} {
		b.Run(name+"/create", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				created.ManagedFields = nil
				tracker.Update(emptyOf(kind), created, "controller")
			}
		})
	}
}
