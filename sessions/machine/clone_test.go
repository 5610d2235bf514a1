package machine

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"hash/maphash"
	"reflect"
	"slices"
	"strings"
	"time"
	"unsafe"
)

// cloneAccount copies an account, so that it can go on in two ways.
func cloneAccount(a *Account) *Account {
	c := cloner{}
	return c.clone(reflect.ValueOf(a)).Interface().(*Account)
}

// cloner copies what pointers lead to, each once.
type cloner map[unsafe.Pointer]reflect.Value

// clone copies a value. What is immutable is shared: tokens, refusals and whatever
// stands behind an interface, and the types of other packages.
func (c cloner) clone(v reflect.Value) reflect.Value {
	switch v.Kind() {
	case reflect.Pointer:
		return c.clonePointer(v)
	case reflect.Struct:
		return c.cloneStruct(v)
	case reflect.Map:
		return c.cloneMap(v)
	case reflect.Slice:
		if v.IsNil() {
			return v
		}
		copied := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		for i := range v.Len() {
			copied.Index(i).Set(c.clone(v.Index(i)))
		}
		return copied
	default:
		return v
	}
}

func (c cloner) clonePointer(v reflect.Value) reflect.Value {
	if v.IsNil() || isImmutable(v.Type().Elem()) {
		return v
	}
	if known, ok := c[v.UnsafePointer()]; ok {
		return known
	}
	copied := reflect.New(v.Type().Elem())
	c[v.UnsafePointer()] = copied
	copied.Elem().Set(c.clone(v.Elem()))
	return copied
}

func (c cloner) cloneStruct(v reflect.Value) reflect.Value {
	copied := reflect.New(v.Type()).Elem()
	copied.Set(v)
	if isImmutable(v.Type()) {
		return copied
	}
	for i := range v.NumField() {
		if isPlain(v.Field(i).Kind()) {
			continue
		}
		exposed(copied.Field(i)).Set(c.clone(exposed(copied.Field(i))))
	}
	return copied
}

func (c cloner) cloneMap(v reflect.Value) reflect.Value {
	if v.IsNil() {
		return v
	}
	copied := reflect.MakeMapWithSize(v.Type(), v.Len())
	for entries := v.MapRange(); entries.Next(); {
		copied.SetMapIndex(c.clone(entries.Key()), c.clone(entries.Value()))
	}
	return copied
}

// exposed lets a field be read and set that is not exported. Its struct must be
// addressable.
func exposed(field reflect.Value) reflect.Value {
	return reflect.NewAt(field.Type(), unsafe.Pointer(field.UnsafeAddr())).Elem()
}

func isPlain(k reflect.Kind) bool {
	return k <= reflect.Float64 || k == reflect.String || k == reflect.Interface || k == reflect.Func
}

func isImmutable(t reflect.Type) bool {
	return t.PkgPath() != reflect.TypeFor[Account]().PkgPath() && t.PkgPath() != "" ||
		t == reflect.TypeFor[Token]() || t == reflect.TypeFor[Refusal]() || t == reflect.TypeFor[PendingLogout]() || t == reflect.TypeFor[SpentCode]()
}

// digest is two hashes of a state.
type digest [2]uint64

// hasher writes a state down so that two that go on alike are written alike: times
// count from now, the steps of an account only by their order.
type hasher struct {
	now   time.Time
	out   bytes.Buffer
	seen  map[unsafe.Pointer]int
	steps []uint64
	// names are the sessions and the grants as they were met: what they are called
	// decides nothing.
	names map[any]uint64
}

var hashSeeds = [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}

func hashOf(now time.Time, state any) digest {
	h := hasher{now: now, seen: map[unsafe.Pointer]int{}, names: map[any]uint64{}}
	h.write(reflect.ValueOf(state))
	order := slices.Clone(h.steps)
	slices.Sort(order)
	order = slices.Compact(order)
	for _, s := range h.steps {
		at, _ := slices.BinarySearch(order, s)
		h.number(uint64(at))
	}
	return digest{maphash.Bytes(hashSeeds[0], h.out.Bytes()), maphash.Bytes(hashSeeds[1], h.out.Bytes())}
}

// indifferent are fields that decide nothing: texts for people, counters, and what
// follows from the rest.
var indifferent = map[string]bool{
	"steps": true, "Message": true, "Advice": true, "FullReason": true, "LastError": true, "Detail": true,
	"moved": true, "scene": true, "broken": true, "dueIndex": true, "due": true, "logouts": true, "fullNoted": true, "orphansEnded": true, "staticReads": true,
	"lastGrant": true, "IDs": true, "listedAt": true,
}

// passing are times that mean the same once they are over.
var passing = map[string]bool{
	"freeAt": true, "nextLogin": true, "until": true, "Until": true, "notBefore": true, "ClosedUntil": true, "FullUntil": true,
	"loginWakeAt": true, "at": true, "Ends": true, "keepUntil": true, "callAt": true,
}

func (h *hasher) number(n uint64) { h.out.Write(binary.AppendUvarint(h.out.AvailableBuffer(), n)) }

func (h *hasher) write(v reflect.Value) {
	switch v.Kind() {
	case reflect.Bool:
		if v.Bool() {
			h.out.WriteByte(1)
		} else {
			h.out.WriteByte(0)
		}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		h.number(uint64(v.Int()))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		h.number(v.Uint())
	case reflect.String:
		h.writeText(v)
	case reflect.Slice, reflect.Array:
		h.number(uint64(v.Len()))
		for i := range v.Len() {
			h.write(v.Index(i))
		}
	case reflect.Map:
		h.writeMap(v)
	case reflect.Interface:
		if v.IsNil() {
			h.out.WriteByte(0)
			return
		}
		h.out.WriteString(v.Elem().Type().Name())
		h.write(v.Elem())
	case reflect.Pointer:
		h.writePointer(v)
	case reflect.Struct:
		h.writeStruct(v)
	default: // functions
	}
}

func (h *hasher) writeText(v reflect.Value) {
	text := v.String()
	if v.Type() == reflect.TypeFor[SessionID]() {
		h.name(SessionID(text))
		return
	}
	if kind, rest, ok := strings.Cut(text, "-"); ok && (kind == "rt" || kind == "at") { // a token of this test
		id, generation, _ := strings.Cut(rest, ".")
		h.name(SessionID(id))
		text = kind + generation
	}
	h.number(uint64(len(text)))
	h.out.WriteString(text)
}

// name writes what stands for a name: its number among those that were met.
func (h *hasher) name(name any) {
	n, ok := h.names[name]
	if !ok {
		n = uint64(len(h.names)) + 1
		h.names[name] = n
	}
	h.number(n)
}

func (h *hasher) writePointer(v reflect.Value) {
	if v.IsNil() {
		h.out.WriteByte(0)
		return
	}
	if t := v.Type().Elem(); t.Kind() == reflect.Struct && !isImmutable(t) {
		if n, ok := h.seen[v.UnsafePointer()]; ok {
			h.number(uint64(n) + 1)
			return
		}
		h.seen[v.UnsafePointer()] = len(h.seen) + 1
	}
	h.out.WriteByte(1)
	h.write(v.Elem())
}

func (h *hasher) writeStruct(v reflect.Value) {
	if v.Type() == reflect.TypeFor[time.Time]() {
		h.writeTime(v, time.Hour)
		return
	}
	for i := range v.NumField() {
		switch name := v.Type().Field(i).Name; {
		case indifferent[name]:
		case name == "changedIn", name == "askedIn":
			h.steps = append(h.steps, v.Field(i).Uint())
		case passing[name] && v.Field(i).Type() == reflect.TypeFor[time.Time]():
			h.writeTime(v.Field(i), 0)
		case name == "ServerID":
			h.name(SessionID(v.Field(i).String()))
		case name == "one", name == "N":
			h.name(v.Field(i).Uint())
		default:
			h.write(v.Field(i))
		}
	}
}

// writeTime reads a time past the field's not being exported: wall clock without a
// monotonic reading, which the times of these tests do not have.
// What is further in the past than most is so in whatever state.
func (h *hasher) writeTime(v reflect.Value, most time.Duration) {
	t := time.Time{}
	reflect.ValueOf(&t).Elem().Set(reflect.Zero(v.Type()))
	wall, ext := v.Field(0).Uint(), v.Field(1).Int()
	exposed(reflect.ValueOf(&t).Elem().Field(0)).SetUint(wall)
	exposed(reflect.ValueOf(&t).Elem().Field(1)).SetInt(ext)
	if t.IsZero() {
		h.out.WriteByte(0)
		return
	}
	h.out.WriteByte(1)
	h.number(uint64(max(t.Sub(h.now), -most)))
}

// writeMap writes the entries in an order that their content decides.
func (h *hasher) writeMap(v reflect.Value) {
	h.number(uint64(v.Len()))
	keys := v.MapKeys()
	switch v.Type().Key().Kind() {
	case reflect.Uint64: // grants
		slices.SortFunc(keys, func(a, b reflect.Value) int { return cmp.Compare(a.Uint(), b.Uint()) })
		for _, k := range keys {
			h.name(k.Uint())
		}
		return
	case reflect.String:
		slices.SortFunc(keys, func(a, b reflect.Value) int { return cmp.Compare(a.String(), b.String()) })
		for _, k := range keys {
			h.write(k)
			h.write(v.MapIndex(k))
		}
		return
	default:
	}
	var entries []string
	for _, k := range keys {
		from := h.out.Len()
		h.write(k)
		h.write(v.MapIndex(k))
		entries = append(entries, string(h.out.Bytes()[from:]))
		h.out.Truncate(from)
	}
	slices.Sort(entries)
	for _, e := range entries {
		h.out.WriteString(e)
	}
}
