package apiregistration

import (
	"testing"

	"github.com/skiff-project/skiff/apiserver/kinds/internal/kindtest"
)

func TestAPIServices(t *testing.T) {
	kindtest.Run(t, APIService, "v1.example.com", []kindtest.Case{
		{Name: "served by another", Object: `spec: {group: example.com, version: v1, groupPriorityMinimum: 1, versionPriority: 1, service: {namespace: n, name: s}}`},
		{Name: "local, and with a bundle", Object: `spec: {group: example.com, version: v1, groupPriorityMinimum: 1, versionPriority: 1, caBundle: YQ==}`, Want: []string{"local APIServices may not have a caBundle"}},
		{Name: "no priorities", Object: `spec: {group: example.com, version: v1}`, Want: []string{"groupPriorityMinimum", "versionPriority"}},
		{Name: "a bundle that is not looked at", Object: `spec: {group: example.com, version: v1, groupPriorityMinimum: 1, versionPriority: 1, service: {namespace: n, name: s}, caBundle: YQ==, insecureSkipTLSVerify: true}`,
			Want: []string{"may not be true if caBundle is present"}},
		{Name: "another version", Object: `spec: {group: example.com, version: v2, groupPriorityMinimum: 1, versionPriority: 1}`, Want: []string{"must be `spec.version+\".\"+spec.group`"}},
	})
}
