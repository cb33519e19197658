"""Jobs become a Snakefile, sbatch scripts or a graph; Snakemake runs them; files say how far it is.

In: a study and its jobs. Out: scripts, a run, states of jobs, failures, links to results.
"""
