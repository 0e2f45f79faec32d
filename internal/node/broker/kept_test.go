package broker

import (
	"slices"
	"strings"
	"testing"

	"github.com/dizuo/dizuo/internal/contract"
)

// TestEveryStreamHasARule: a stream that nobody said how long it is kept fails here, and a rule of none.
func TestEveryStreamHasARule(t *testing.T) {
	streams := []string{bundleStream}
	for _, s := range mqttStreams(contract.BrokerConfig{}) {
		streams = append(streams, s.Name)
	}
	for _, b := range buckets() {
		streams = append(streams, "KV_"+b.Bucket)
	}
	var rules []string
	for _, k := range contract.Kepts() {
		if !strings.Contains(k.What, ".") {
			rules = append(rules, k.What)
		}
	}
	slices.Sort(streams)
	slices.Sort(rules)
	if !slices.Equal(streams, rules) {
		t.Errorf("streams %q\nrules   %q", streams, rules)
	}
}
