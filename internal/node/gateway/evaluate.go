package gateway

import (
	"context"
	"errors"
	"sync"

	"github.com/open-policy-agent/opa/v1/ast"
	notimes "github.com/open-policy-agent/opa/v1/metrics"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/dizuo/dizuo/policies"
)

// evaluator is the compiled policy and the query that it answers. It never changes, and revisions with the same policy share it.
type evaluator struct {
	compiler *ast.Compiler
	query    ast.Body
	prepared ast.QueryCompiler
}

// answerVar is the variable of the query that gets the answer.
const answerVar = ast.Var("answer")

func newEvaluator(compiler *ast.Compiler) (*evaluator, error) {
	e := &evaluator{compiler: compiler, prepared: compiler.QueryCompiler()}
	body, err := ast.ParseBody(string(answerVar) + " = " + policies.AccessEntrypoint)
	if err == nil {
		e.query, err = e.prepared.Compile(body)
	}
	return e, err
}

// ask evaluates the policy over grants. It is the evaluator that package rego runs too, without what a decision has no use for: timers,
// a goroutine for each, and the answer's row scope, which is taken from the grant.
func (e *evaluator) ask(ctx context.Context, g *grants, input ast.Value) (any, error) {
	cancel := topdown.NewCancel()
	defer context.AfterFunc(ctx, cancel.Cancel)()
	known := knowns.Get().(*known)
	defer known.done()
	var answers []ast.Value
	err := topdown.NewQuery(e.query).WithQueryCompiler(e.prepared).WithCompiler(e.compiler).WithStore(grantStore{}).WithTransaction(g).
		WithInput(ast.NewTerm(input)).WithMetrics(notimes.NoOp()).WithCancel(cancel).WithVirtualCache(&known.rules).WithBaseCache(&known.documents).
		Iter(ctx, func(r topdown.QueryResult) error {
			if t := r[answerVar]; t != nil {
				answers = append(answers, t.Value)
			}
			return nil
		})
	if err != nil {
		return nil, err
	}
	if len(answers) != 1 {
		return nil, errors.New("no answer")
	}
	object, ok := answers[0].(ast.Object)
	if !ok {
		return ast.JSON(answers[0])
	}
	out := make(map[string]any, object.Len())
	return out, object.Iter(func(k, v *ast.Term) error {
		name, ok := k.Value.(ast.String)
		if !ok || name == "rows" {
			return nil
		}
		value, err := ast.JSON(v.Value)
		out[string(name)] = value
		return err
	})
}

// known is what one evaluation has found so far. OPA's own caches are trees of maps; a decision looks up a few dozen results, for which
// a list that is used again costs a fraction.
type known struct {
	rules     ruleCache
	documents documentCache
}

var knowns = sync.Pool{New: func() any { return new(known) }}

// done gives the lists back, empty: they must hold nothing of a request.
func (k *known) done() {
	clear(k.rules.terms)
	clear(k.rules.results)
	clear(k.documents.found)
	k.rules = ruleCache{terms: k.rules.terms[:0], results: k.rules.results[:0], frames: k.rules.frames[:0]}
	k.documents.found = k.documents.found[:0]
	knowns.Put(k)
}

// ruleCache implements topdown.VirtualCache: results of rules and functions, by reference and arguments.
type ruleCache struct {
	terms   []*ast.Term // of all references, one after the other
	results []ruleResult
	frames  []int // where the frame before the newest begins, of each
	from    int   // where the newest frame begins
}

type ruleResult struct {
	hash, at, size int
	value          *ast.Term // nil where the result is undefined
}

// Push implements topdown.VirtualCache.
func (c *ruleCache) Push() {
	c.frames, c.from = append(c.frames, c.from), len(c.results)
}

// Pop implements topdown.VirtualCache.
func (c *ruleCache) Pop() {
	last := len(c.frames) - 1
	clear(c.results[c.from:])
	c.results, c.from, c.frames = c.results[:c.from], c.frames[last], c.frames[:last]
}

// Get implements topdown.VirtualCache.
func (c *ruleCache) Get(ref ast.Ref) (*ast.Term, bool) {
	if r := c.find(ref, ref.Hash()); r != nil {
		return r.value, r.value == nil
	}
	return nil, false
}

func (c *ruleCache) find(ref ast.Ref, hash int) *ruleResult {
	for i := len(c.results) - 1; i >= c.from; i-- {
		if r := &c.results[i]; r.hash == hash && ref.Equal(c.ref(r)) {
			return r
		}
	}
	return nil
}

func (c *ruleCache) ref(r *ruleResult) ast.Ref { return c.terms[r.at : r.at+r.size] }

// Put implements topdown.VirtualCache.
func (c *ruleCache) Put(ref ast.Ref, value *ast.Term) {
	hash := ref.Hash()
	if r := c.find(ref, hash); r != nil {
		r.value = value
		return
	}
	c.results = append(c.results, ruleResult{hash, len(c.terms), len(ref), value})
	c.terms = append(c.terms, ref...) // the evaluator goes on to use the reference that it gave
}

// Keys implements topdown.VirtualCache.
func (c *ruleCache) Keys() []ast.Ref {
	var out []ast.Ref
	for i := c.from; i < len(c.results); i++ {
		if r := &c.results[i]; r.value != nil {
			out = append(out, append(ast.Ref{}, c.ref(r)...))
		}
	}
	return out
}

// documentCache implements topdown.BaseCache: the documents that were read from the store, one dataset and one or two of grants.
type documentCache struct{ found []document }

type document struct {
	ref   ast.Ref
	value ast.Value
}

// Get implements topdown.BaseCache.
func (c *documentCache) Get(ref ast.Ref) ast.Value {
	for _, d := range c.found {
		if ref.HasPrefix(d.ref) {
			v, err := d.value.Find(ref[len(d.ref):])
			if err != nil {
				return nil
			}
			return v
		}
	}
	return nil
}

// Put implements topdown.BaseCache.
func (c *documentCache) Put(ref ast.Ref, value ast.Value) {
	c.found = append(c.found, document{append(ast.Ref{}, ref...), value})
}
