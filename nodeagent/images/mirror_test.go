package images_test

import (
	"context"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/skiff-project/skiff/nodeagent/images"
)

func TestMirrorsAreAskedFirst(t *testing.T) {
	all, own := newHub(t), newHub(t)
	here := image(t, v1.Config{}, []file{{Name: "from-all", Body: "x", Mode: 0o644}})
	all.push(t, "team/app:1", here)
	all.push(t, "library/nginx:1", here)
	own.push(t, "team/app:1", image(t, v1.Config{}, []file{{Name: "from-own", Body: "y", Mode: 0o644}}))
	for _, test := range []struct {
		name, ref string
		mirrors   map[string][]string
		want      string // host of the registry that it comes from; empty: not pulled
	}{
		{name: "any registry", ref: "registry.invalid/team/app:1", mirrors: map[string][]string{images.AnyRegistry: {all.host}}, want: all.host},
		{name: "short names are docker.io's", ref: "nginx:1", mirrors: map[string][]string{images.AnyRegistry: {all.host}}, want: all.host},
		{name: "a registry's own mirror instead of the one for any", ref: "registry.invalid/team/app:1",
			mirrors: map[string][]string{images.AnyRegistry: {all.host}, "registry.invalid": {own.host}}, want: own.host},
		{name: "the registry itself when the mirror has nothing", ref: own.host + "/team/app:1",
			mirrors: map[string][]string{images.AnyRegistry: {newHub(t).host}}, want: own.host},
		{name: "nobody has it", ref: own.host + "/team/none:1", mirrors: map[string][]string{images.AnyRegistry: {all.host}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			defer cancel()
			s, err := images.New(images.Config{Root: t.TempDir(), Mirrors: test.mirrors})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(s.Close)
			_, err = s.Pull(ctx, test.ref, nil, nil)
			if (err == nil) != (test.want != "") {
				t.Fatalf("pull: %v", err)
			}
			if test.want == "" {
				return
			}
			root := mount(t, s, test.ref)
			if exists(root+"/from-all") != (test.want == all.host) || exists(root+"/from-own") != (test.want == own.host) {
				t.Errorf("the image is not the one of %s", test.want)
			}
		})
	}
}
