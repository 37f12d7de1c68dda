// Package rules turns packs into what the engine judges by.
//
// A pack is a folder of strict YAML: pack.yaml names it and its lists, every other file holds features and rules.
// Conditions are expr-lang expressions over a closed environment made from [scoring.Fields]: they compare fields,
// lists, parameters and features, and nothing else. There is no clock, no randomness, no network, no unbounded loop;
// regular expressions are constants. A misspelt name fails when the pack is loaded, with file, line and caret.
package rules
