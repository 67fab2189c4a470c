package apiserver

import (
	"sync"

	"github.com/skiff-project/skiff/apiserver/aggregation"
	"github.com/skiff-project/skiff/apiserver/discovery"
	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/openapi"
)

// publisher tells clients what there is: the kinds of this server, which definitions add to, and those of others.
type publisher struct {
	disco *discovery.Handler
	docs  *openapi.Handler

	mu         sync.Mutex
	table      []*kinds.Kind
	groups     []discovery.Group
	documents  []openapi.Extra
	aggregator *aggregation.Aggregator
}

// own replaces the table of this server's kinds.
func (p *publisher) own(table []*kinds.Kind) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.table = table
	p.aggregator.Locals(table)
	p.publish()
}

// others replaces what other servers have.
func (p *publisher) others(groups []discovery.Group, documents []openapi.Extra) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.groups, p.documents = groups, documents
	p.publish()
}

func (p *publisher) publish() {
	p.disco.Set(p.table, p.groups...)
	p.docs.Set(p.disco, p.documents...)
}
