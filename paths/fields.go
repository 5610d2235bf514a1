package paths

import (
	"maps"
	"time"

	"github.com/hashicorp/vault/sdk/framework"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
)

// nameField is the part of a path that names one thing.
const nameField = "name"

// operationPrefix begins the operation ids in the OpenAPI document.
const operationPrefix = "panta"

type fields = map[string]*framework.FieldSchema

func text(description string) *framework.FieldSchema {
	return &framework.FieldSchema{Type: framework.TypeString, Description: description}
}

func secretText(description string) *framework.FieldSchema {
	f := text(description)
	f.DisplayAttrs = &framework.DisplayAttributes{Sensitive: true}
	return f
}

func number(description string) *framework.FieldSchema {
	return &framework.FieldSchema{Type: framework.TypeInt, Description: description}
}

func flag(description string) *framework.FieldSchema {
	return &framework.FieldSchema{Type: framework.TypeBool, Description: description}
}

func duration(description string) *framework.FieldSchema {
	return &framework.FieldSchema{Type: framework.TypeDurationSecond, Description: description}
}

func texts(description string) *framework.FieldSchema {
	return &framework.FieldSchema{Type: framework.TypeCommaStringSlice, Description: description}
}

func object(description string) *framework.FieldSchema {
	return &framework.FieldSchema{Type: framework.TypeMap, Description: description}
}

func pairs(description string) *framework.FieldSchema {
	return &framework.FieldSchema{Type: framework.TypeKVPairs, Description: description}
}

// schemaOf is a row of a table of package configs or providers.
func schemaOf(f providers.Field) *framework.FieldSchema {
	description := f.Help
	if f.Default != "" {
		description += " The default is " + f.Default + "."
	}
	if f.Secret {
		return secretText(description + " Never returned by this path.")
	}
	switch f.Type {
	case providers.List:
		return texts(description)
	case providers.Params:
		return pairs(description)
	case providers.Number:
		return number(description)
	case providers.Flag:
		return flag(description)
	case providers.Duration:
		return duration(description)
	case providers.Text, providers.Time:
	}
	return text(description)
}

// typeOf is the type of a field as strictly as the framework is lax.
func typeOf(schema *framework.FieldSchema) providers.Type {
	types := map[framework.FieldType]providers.Type{
		framework.TypeCommaStringSlice: providers.List,
		framework.TypeKVPairs:          providers.Params,
		framework.TypeInt:              providers.Number,
		framework.TypeBool:             providers.Flag,
		framework.TypeDurationSecond:   providers.Duration,
	}
	return types[schema.Type] // else Text
}

// schemasOf are the fields of a table, and others.
func schemasOf(table []providers.Field, others fields) fields {
	all := maps.Clone(others)
	for _, f := range table {
		all[f.Name] = schemaOf(f)
		all[f.Name].Required = f.Required
	}
	return all
}

func required(f *framework.FieldSchema) *framework.FieldSchema {
	f.Required = true
	return f
}

func query(f *framework.FieldSchema) *framework.FieldSchema {
	f.Query = true
	return f
}

// and returns all fields of both.
func (d described) and(more fields) fields {
	all := maps.Clone(fields(d))
	maps.Copy(all, more)
	return all
}

// described is a set of fields that others are added to.
type described fields

// answers describes a response with data.
func answers(description string, data fields) map[int][]framework.Response {
	return map[int][]framework.Response{ok: {{Description: description, Fields: data}}}
}

// answersNothing describes a response that holds at most warnings.
func answersNothing(description string) map[int][]framework.Response {
	return map[int][]framework.Response{
		noContent: {{Description: description}},
		ok:        {{Description: description + " The response has warnings."}},
	}
}

// forwarded is an operation for the active node of the primary cluster, whose memory
// and storage it needs. The verb may be empty.
func forwarded(f framework.OperationFunc, summary string, responses map[int][]framework.Response, verb, suffix string) framework.OperationHandler {
	return &framework.PathOperation{
		Callback:                    f,
		Summary:                     summary,
		Responses:                   responses,
		ForwardPerformanceStandby:   true,
		ForwardPerformanceSecondary: true,
		DisplayAttrs:                &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationVerb: verb, OperationSuffix: suffix},
	}
}

// answersNames describes a list.
func answersNames(description string) map[int][]framework.Response {
	return answers(description, fields{"keys": {Type: framework.TypeStringSlice, Description: description}})
}

// answersInfo describes a list that says something about each key.
func answersInfo(description string) map[int][]framework.Response {
	return answers(description, fields{
		"keys":     {Type: framework.TypeStringSlice, Description: description},
		"key_info": object("The most important of what a read shows of each key."),
	})
}

// given returns a field's value, nil where the request does not have it.
func given[T any](data *framework.FieldData, field string) *T {
	if data.Raw[field] == nil {
		return nil
	}
	value, ok := data.Get(field).(T)
	if !ok {
		return nil
	}
	return &value
}

// givenDuration is given for fields in seconds.
func givenDuration(data *framework.FieldData, field string) *time.Duration {
	seconds := given[int](data, field)
	if seconds == nil {
		return nil
	}
	d := time.Duration(*seconds) * time.Second
	return &d
}
