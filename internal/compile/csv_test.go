package compile_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/compile"
)

func TestReadCSV(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"rows":                  {"device,community\na,x\nb,y\n", "2:a 3:b"},
		"no newline at the end": {"device,community\na,x", "2:a"},
		"byte order mark":       {"\xef\xbb\xbfdevice,community\na,x\n", "2:a"},
		"Windows line ends":     {"device,community\r\na,x\r\n", "2:a"},
		"blank and comment":     {"device,community\n\n# note\na,x\n", "4:a"},
		"quoted line end":       {"device,attribute.note\na,\"one\ntwo\"\nb,x\n", "2:a 4:b"},
		"attributes only":       {"attribute.note\nx\n", "2:"},
		"too few, too many":     {"device,community\na\nb,y,z\nc,z\n", "4:c !2 !3"},
		"quote in the open":     {"device,community\na\"b,x\nc,z\n", "3:c !2"},
		"quote in the first":    {"device,community\n\"a\"b,x\nc,z\n", "3:c !2"},
		"quote never closed":    {"device,community\na,x\nb,\"y\nc,z\n", "2:a !3"},
		"empty":                 {"", "!1"},
		"comments only":         {"# a\n# b\n", "!1"},
		"broken header":         {"dev\"ice,community\na,x\n", "!1"},
		"unknown column":        {"device,phone\na,1\n", "!1"},
	} {
		t.Run(name, func(t *testing.T) {
			rows, rejected := compile.ReadCSV("file", []byte(c.text))
			var got []string
			for _, r := range rows {
				got = append(got, fmt.Sprintf("%d:%s", compile.LineOf(r), compile.DeviceOf(r)))
			}
			for _, r := range rejected {
				got = append(got, fmt.Sprintf("!%d", r.Line))
				if r.Source != "file" || r.Reason == "" {
					t.Errorf("rejection %+v names neither source nor reason", r)
				}
			}
			if text := strings.Join(got, " "); text != c.want {
				t.Errorf("got %q, want %q", text, c.want)
			}
		})
	}
}

// A few bytes of gzip must not fill the memory that all platforms share, whatever they unpack to.
func TestInventoryIsBounded(t *testing.T) {
	member := func(text []byte) []byte {
		var out bytes.Buffer
		z := gzip.NewWriter(&out)
		_, _ = z.Write(text)
		_ = z.Close()
		return out.Bytes()
	}
	// A gzip file may have many members, so that a thousand lines need to be packed once only.
	pack := func(header, line string, lines int) []byte {
		many := member(bytes.Repeat([]byte(line), 1000))
		return slices.Concat(member([]byte(header)), bytes.Repeat(many, lines/1000), member(bytes.Repeat([]byte(line), lines%1000)))
	}
	for name, c := range map[string]struct {
		files        int
		header, line string
		lines        int
		says         string
	}{
		"rows that are all wrong": {1, "device\n", "a,b\n", 300_000, "more than 250000 rows"},
		"many files":              {20, "device\n", "d\n", 249_990, "more than 250000 rows"},
		"one endless value":       {1, "device\n\"", "a", 80 << 20, "longer than 256 KiB"},
		"an endless header":       {1, "device", ",device", 12 << 20, "longer than 256 KiB"},
		"an endless row":          {1, "device\n", ",", 80 << 20, "longer than 256 KiB"},
		"rows within a quote":     {1, "device\n", ",,,,,,,\"\n\",", 8 << 20, "longer than 256 KiB"},
		"many columns":            {1, "device", ",device", 1000, "1001 columns; at most 64"},
		"long values":             {1, "device,attribute.x\n", "d," + strings.Repeat("x", 1000) + "\n", 70_000, "larger than 64 MiB"},
	} {
		t.Run(name, func(t *testing.T) {
			packed, data := pack(c.header, c.line, c.lines), map[string][]byte{}
			for i := range c.files {
				data[fmt.Sprintf("%d.csv.gz", i)] = packed
			}
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			v := compile.ReadInventory(data)
			runtime.ReadMemStats(&after)
			if grown := int64(after.Sys) - int64(before.Sys); grown > 128<<20 {
				t.Errorf("%d MiB are taken while it is read", grown>>20)
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 8<<20 {
				t.Errorf("%d MiB are kept", grown>>20)
			}
			if v.Total > 250_000 || len(v.Rejected) > 1_000 || v.Refused < len(v.Rejected) {
				t.Errorf("%d rows, %d rejected, %d of them kept", v.Total, v.Refused, len(v.Rejected))
			}
			if first := v.Rejected[0].Reason; !strings.Contains(first, c.says) {
				t.Errorf("the first rejection says %q, want %q", first, c.says)
			}
		})
	}
}

// The longest names that a Secret and its key may have fit into a status.
func TestSourceFitsTheStatus(t *testing.T) {
	long := strings.Repeat("s", 253)
	for _, r := range compile.ReadInventoryOf(long, map[string][]byte{long[4:] + ".csv": []byte("x")}).Rejected {
		if len(r.Source) > 512 {
			t.Errorf("source has %d characters", len(r.Source))
		}
	}
}

// FuzzReadCSV: whatever a vendor uploads, reading ends, every line is there, and nothing of a row is repeated that a person
// may have written into it.
func FuzzReadCSV(f *testing.F) {
	for _, seed := range []string{
		"device,community\na,x\n", "device,community\na\"b,x\n", "device\n\"", "device,attribute.x\n\"\n\",1\n", "\xef\xbb\xbfdevice\r\na\r\n",
		"#\n", "device,device\na,b\n", ",\n,\n", "device\n\x00\n", "device\n\"\"\"\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		rows, rejected := compile.ReadCSV("s", raw)
		lines := bytes.Count(raw, []byte("\n")) + 1
		seen := 0
		for _, r := range rows {
			line := compile.LineOf(r)
			if line <= seen || line > lines {
				t.Fatalf("row at line %d after line %d of %d", line, seen, lines)
			}
			seen = line
		}
		for _, r := range rejected {
			if r.Line < 1 || int(r.Line) > lines || r.Reason == "" || r.Device != "" {
				t.Fatalf("rejection %+v of %d lines", r, lines)
			}
		}
		if len(rows)+len(rejected) > lines {
			t.Fatalf("%d rows and %d rejections from %d lines", len(rows), len(rejected), lines)
		}
	})
}

// FuzzInventory: whatever a vendor uploads, in however many files, checking it ends, no row comes from nowhere, every rejection has a code
// and a reason that the API takes, and none repeats what stood in a cell that is no name of an object.
func FuzzInventory(f *testing.F) {
	for _, seed := range []string{
		"device,community,grid,microGrid,compound,maintainer\na,jinghu,grid-1,m-1,east,fire-co\n\u5f20\u4e09,jinghu,,,,\u5f20\u4e09\n",
		"device,community,building,unit,household,via,serial,imei,installedAt,longitude,latitude,crs,clientID,passwordHash,attribute.a\n" +
			"a,jinghu,1\u53f7\u697c,1,syn-12345678,gw.g1,SN,866123000000001,2026-01-01,113.6,34.7,WGS84,C:1,sha256:x:y,b\n",
		"device,serial\na,1\nb,1\n", "device,community\na,\u91d1\u6c34\u8def\n", "\x1f\x8b\x08\x00", "device,attribute.\u697c\na,\x00\n",
		"device,clientID\na,smoke_b\nb,doors_b\nc,_\n", "device,installedAt\na,2026-02-30\n", "device,longitude,latitude\na,1e3,1\nb,NaN,0\n",
	} {
		f.Add([]byte(seed))
	}
	platform := &v1alpha1.GridPlatform{}
	fleet := &v1alpha1.DeviceFleet{}
	fleet.Name, fleet.Spec.Identity.Type = "smoke", v1alpha1.FleetIdentityX509
	community := &v1alpha1.Community{}
	community.Name = "jinghu"
	community.Spec.Grids = []v1alpha1.Grid{{Name: "grid-1", MicroGrids: []v1alpha1.MicroGrid{{Name: "m-1"}}}}
	s := &compile.Snapshot{Platform: platform, Communities: compile.Named[*v1alpha1.Community]{"jinghu": {community}}}
	f.Fuzz(func(t *testing.T, raw []byte) {
		lines := bytes.Count(raw, []byte("\n")) + 1
		for _, c := range []struct {
			s *compile.Snapshot
			o *v1alpha1.DeviceFleet
		}{{s, fleet}, {nil, nil}} {
			told := 0
			counts := compile.CheckCSV(c.s, c.o, []compile.CSV{{Source: "s", In: bytes.NewReader(raw)}, {Source: "z", In: bytes.NewReader(raw), Packed: true}}, func(r v1alpha1.RejectedRow) {
				told++
				if r.Code == "" || r.Reason == "" || len(r.Reason) > 256 || r.Line < 0 || r.Source == "s" && int(r.Line) > lines {
					t.Fatalf("rejection %+v of %d lines", r, lines)
				}
				if i := strings.IndexFunc(r.Reason, func(c rune) bool { return c < ' ' || c > '~' }); i >= 0 {
					t.Fatalf("reason %q repeats a cell", r.Reason)
				}
			})
			byCode := 0
			for _, n := range counts.ByCode {
				byCode += int(n.Rows)
			}
			if told != counts.Rejected || byCode != counts.Rejected || counts.Rejected > counts.Rows || counts.Rows > 2*lines {
				t.Fatalf("%+v, %d told, %d by code, of %d lines", counts, told, byCode, lines)
			}
		}
	})
}
