"""The model of django_driver.py."""
from django.db import models


class Author(models.Model):
    name = models.CharField(max_length=50, unique=True)


class Tag(models.Model):
    word = models.CharField(max_length=20, unique=True)


class Book(models.Model):
    title = models.CharField(max_length=100, db_index=True)
    author = models.ForeignKey(Author, models.CASCADE, related_name="books")
    tags = models.ManyToManyField(Tag)
    pages = models.IntegerField(default=0)
    printed = models.DateTimeField(null=True)
    data = models.JSONField(default=dict)
