//! Counters, histograms, metrics, logs.
